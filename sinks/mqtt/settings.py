"""Settings of the MQTT sink."""

from typing import Literal

from stream.errors import ConfigError
from stream.security import BrokerSettings


class MQTTSettings(BrokerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of poses over MQTT.

    prefix: First part of all topics. Nodes at the same broker need different prefixes.

    format: Encoding of poses, json or msgpack; all other messages are JSON.

    max_hz: Maximum number of poses per second and source.

    max_age_ms: Poses older than this are not sent; null sends poses of any age.

    discovery: Announce the node to Home Assistant.

    discovery_prefix: Topic prefix at which Home Assistant expects announcements.

    viewer_url: Address of the page of a browser sink, such as http://192.0.2.1:8765, to which Home
    Assistant's page of the node links.
    """

    prefix: str = "poselift"
    format: Literal["json", "msgpack"] = "json"
    max_hz: float = 10.0
    max_age_ms: float | None = 3000.0
    discovery: bool = False
    discovery_prefix: str = "homeassistant"
    viewer_url: str | None = None

    def __post_init__(self) -> None:
        BrokerSettings.__post_init__(self)
        if not 0 < self.max_hz <= 1000:
            raise ConfigError(f"mqtt max_hz: expected above 0 and at most 1000, got {self.max_hz}")
        if self.max_age_ms is not None and not self.max_age_ms > 0:
            raise ConfigError(f"mqtt max_age_ms: expected more than 0, or null, got {self.max_age_ms}")
        if self.viewer_url is not None and not self.viewer_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"mqtt viewer_url: expected an address such as http://192.0.2.1:8765, got {self.viewer_url!r}"
            )
        for name, prefix in (("prefix", self.prefix), ("discovery_prefix", self.discovery_prefix)):
            if not prefix or prefix[0] in "/$" or prefix[-1] == "/" or set(prefix) & set("+#\0"):
                raise ConfigError(
                    f"mqtt {name}: expected the beginning of a topic, such as poselift or home/poselift, "
                    f"without + and #, got {prefix!r}"
                )
