"""API keys: format, encryption, life cycle, authentication, usage."""
