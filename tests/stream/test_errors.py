from stream.errors import masked


def test_passwords_and_tokens_are_masked_in_urls() -> None:
    assert masked("rtsp://user:p@ss:w/rd@host:554/live") == "rtsp://user:***@host:554/live"
    assert masked("rtsp://:secret@host/live") == "rtsp://:***@host/live"
    assert masked("http://host:80/video?user=me&password=tea&fps=5") == (
        "http://host:80/video?user=me&password=***&fps=5"
    )
    assert masked("http://host:80/video?apiToken=tea") == "http://host:80/video?apiToken=***"
    assert masked("rtsp://host:554/live") == "rtsp://host:554/live"
    assert masked("video.mp4") == "video.mp4"
