"""What runs: threads for sources, lifter and sinks, the scheduler, the daemon."""
