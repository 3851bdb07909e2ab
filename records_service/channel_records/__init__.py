"""What channels read and write: records as they hold in one scope, for workflow_service."""
