"""What a mail store must offer, and how stores are found."""
