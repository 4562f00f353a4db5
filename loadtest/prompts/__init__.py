"""What users ask: texts that come with the load test, files of the user's own, and synthetic texts of exact length."""
