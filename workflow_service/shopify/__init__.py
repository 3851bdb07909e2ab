"""The connector of channels of the type `shopify`."""
