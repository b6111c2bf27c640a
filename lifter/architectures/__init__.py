"""One pose network per file, each built on the hourglass of `lifter.h2ot`."""
