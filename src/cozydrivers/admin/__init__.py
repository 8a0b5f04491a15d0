"""What an administrator does from outside the controller."""
