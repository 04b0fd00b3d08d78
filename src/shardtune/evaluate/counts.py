"""What an evaluation adds up."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TopKCounts:
    """How many examples were seen, and for how many the true label was the first, or among the first five, guesses."""

    examples: int = 0
    top_1: int = 0
    top_5: int = 0

    def __add__(self, other: "TopKCounts") -> "TopKCounts":
        return TopKCounts(self.examples + other.examples, self.top_1 + other.top_1, self.top_5 + other.top_5)

    @property
    def precision_at_1(self) -> float:
        return self.top_1 / self.examples

    @property
    def recall_at_5(self) -> float:
        return self.top_5 / self.examples

    def __str__(self) -> str:
        """The line of research/inception's inception_eval."""
        return f"precision @ 1 = {self.precision_at_1:.4f} recall @ 5 = {self.recall_at_5:.4f} [{self.examples} examples]"
