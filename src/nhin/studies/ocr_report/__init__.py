"""The source report on reading VinText, reproduced on the user's own copy, and improved step by step."""
