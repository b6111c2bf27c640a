"""Everything that runs: threads of sources, lifter and sinks, scheduler, service, lifting of files."""
