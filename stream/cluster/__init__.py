"""Workers on many machines, placed by Ray; needs the extra `ray`."""
