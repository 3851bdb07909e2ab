"""Changes of attributes and schemas that have an effect on stored records."""
