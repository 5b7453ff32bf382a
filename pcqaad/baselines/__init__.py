"""What pcqaad is compared with: other decoders, trained as their authors train them."""
