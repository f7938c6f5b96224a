"""What can go wrong while an agent meets an environment, told apart so that a caller can answer each."""


class EnvironmentFault(RuntimeError):
    """The environment raised, or returned what its spaces forbid (the message says where)."""


class NonFinite(RuntimeError):
    """A loss, gradient, weight or reward became NaN or infinite (the message says which first).

    `mend` says what may help.
    """

    def __init__(self, text: str, mend: str = "a smaller rate may help (--set learner.learning_rate=...)") -> None:
        super().__init__(text)
        self.mend = mend


class Unfit(ValueError):
    """A part's settings do not go together, or do not fit the world (the message says what to change)."""
