"""End of the process while a thread still decodes an image.

Python ends threads that return from OpenCV after the interpreter has shut down, and C++ answers that with an
abort (exit code 134). A camera that hangs may keep such a thread for seconds after a stop.
"""

import atexit
import contextlib
import os
import sys
import threading


def end_process(ended: SystemExit) -> None:
    """End the process now, with the exit code of `ended`, if only daemon threads still run beside this one.

    Functions registered with `atexit` run before. Returns when no thread or another kind of thread still
    runs, which Python's own exit is safe with or waits for.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    if not others or not all(thread.daemon for thread in others):
        return
    code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    if isinstance(ended.code, str):
        print(ended.code, file=sys.stderr)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
