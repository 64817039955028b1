from ofa_det.evaluation.front_plot import ScoredModel, front


def test_the_front_is_of_those_that_no_other_beats() -> None:
    fast = ScoredModel(name="fast", ap=0.3, latency_ms=20.0)
    worse = ScoredModel(name="as fast and worse", ap=0.2, latency_ms=20.0)
    slower = ScoredModel(name="slower and as good", ap=0.3, latency_ms=30.0)
    best = ScoredModel(name="best", ap=0.4, latency_ms=40.0)
    assert front((best, worse, slower, fast)) == (fast, best)
    assert front(()) == ()
