"""What can be wrong with what a card is made of."""


class CardError(ValueError):
    """A card that cannot be made as asked; the message names the file, what is wrong and the remedy."""
