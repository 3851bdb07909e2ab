"""Roles that workflows name: claimed in auth_service, so that they are not deleted."""
