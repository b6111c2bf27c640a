"""Files on disk: recordings of keypoints and poses, strict YAML, the cache folder."""
