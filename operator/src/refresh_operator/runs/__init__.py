"""What is concluded from the Jobs of a refresh: active and finished runs, missed ones, requested ones, suspension; pure."""
