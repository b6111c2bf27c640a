"""Made-up training data: virtual cameras, detector noise, body shapes, rare poses."""
