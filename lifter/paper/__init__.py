"""The paper's tables and figures, computed with our implementation."""
