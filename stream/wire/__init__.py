"""Bytes on the wire: the documents of version 1, their arrays, and the names of topics."""
