"""Browser sink: a web page that shows the poses live in 3D."""

from stream.errors import ConfigError

try:
    from sinks.browser.sink import Browser
except ModuleNotFoundError as error:
    raise ConfigError(f"The viewer needs a package: pip install 'poselift[view]' ({error})") from error

__all__ = ["Browser"]
