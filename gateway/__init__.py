"""The one door: credentials in, a signed identity and an unread body out."""
