"""Speaks the GraphQL Admin API of Shopify, within the points that it gives."""
