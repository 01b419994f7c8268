"""What all apps share: settings, URLs, the error format, rate limits, the embedded database."""
