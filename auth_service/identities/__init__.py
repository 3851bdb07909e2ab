"""Identities: what the gateway asks when it has a credential and wants to know who that is."""
