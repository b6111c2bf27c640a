"""How fast a lifter is on this machine, and which engine is fastest."""
