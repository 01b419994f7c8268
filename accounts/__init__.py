"""People: sign-up, sign-in, second factor, profile, and the names that people and teams share."""
