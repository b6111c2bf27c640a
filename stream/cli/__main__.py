"""`python -m stream.cli` is the `poselift` command."""

from stream.cli.main import main

main()
