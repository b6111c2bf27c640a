"""After lifting: blends passes, assembles pose frames, smooths them."""
