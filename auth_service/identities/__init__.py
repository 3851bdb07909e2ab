"""Identities: the gateway's look-up of the caller behind a credential."""
