"""Everything that runs: threads of sources, lifter and sinks, the scheduler, the service, lifting of whole files."""
