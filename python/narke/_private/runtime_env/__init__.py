"""Making what runtime environments name."""
