"""What can go wrong while an agent meets an environment, told apart so that a caller can answer each."""


class EnvironmentFault(RuntimeError):
    """The environment raised, or returned what its spaces forbid (the message says where)."""


class NonFinite(RuntimeError):
    """A loss, gradient, weight or reward of the learner became NaN or infinite (the message says which first)."""


class Unfit(ValueError):
    """A part's settings do not go together, or do not fit the world (the message says what to change)."""
