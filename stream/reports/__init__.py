"""`poselift report`: measures a lifter and writes its documents."""
