"""Post-processing of lifted windows: blending of passes, pose frames, smoothing, bone lengths."""
