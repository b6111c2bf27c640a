"""Log records as lines of JSON on stderr, for programs that collect logs."""

import json
import logging
import time


class JsonFormatter(logging.Formatter):
    """Formats a record as {"time", "level", "logger", "thread", "message"}, with "error" for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def log_as_json() -> None:
    """Use the formatter for everything that is logged from now on."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())


def logs_json() -> bool:
    """Whether `log_as_json` was called."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def log_line(line: str) -> None:
    """Log a line that is otherwise printed."""
    logging.getLogger("poselift").info(line)
