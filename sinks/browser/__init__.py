"""Browser sink: a web page that shows the poses live in 3D."""

from sinks.browser.sink import Browser

__all__ = ["Browser"]
