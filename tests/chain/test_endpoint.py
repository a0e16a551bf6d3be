"""How much is asked of one endpoint, and when it is left alone."""

from ngu_points.chain.endpoint import MAX_SPAN, Endpoint, Span


def test_span_shrinks_and_grows_back_slowly() -> None:
    """After refusals the span needs more and more good answers before it grows again."""
    span = Span(2_000)
    span.refused(2_000, 1_000)
    span.refused(1_000, 500)
    pages = 0
    while span.blocks == 500:
        span.worked(500, 1_000)
        pages += 1
    assert pages == 16
    assert span.blocks == 1_000


def test_span_respects_the_named_limit() -> None:
    """Once a provider named its limit, no growth goes past it; a refused limit is lowered."""
    span = Span(2_000)
    span.cap(800)
    for _ in range(100):
        span.worked(span.blocks, 10)
    assert span.blocks == 800
    span.refused(800, 400)
    for _ in range(1_000):
        span.worked(span.blocks, 10)
    assert span.blocks == 799


def test_span_follows_the_size_of_answers() -> None:
    """Nearly empty answers double the span, large ones leave it, huge ones cut it."""
    span = Span(1_000)
    span.worked(1_000, 100)
    assert span.blocks == 2_000
    span.worked(2_000, 1 << 20)
    assert span.blocks == 2_501
    span.worked(2_501, 8 << 20)
    assert span.blocks == 2_501
    span.worked(2_501, 20 << 20)
    assert span.blocks == 1_250
    span.worked(3, 100)
    assert span.blocks == 1_250
    for _ in range(50):
        span.worked(span.blocks, 2)
    assert span.blocks == MAX_SPAN


def test_token_bucket_refills() -> None:
    """One second's worth of calls may come at once; later ones wait for their turn."""
    endpoint = Endpoint("http://node.example", "node.example", Span(1))
    assert [endpoint.reserve(100.0, 2.0, 1) for _ in range(5)] == [0, 0, 0, 0.5, 1]
    assert endpoint.reserve(103.0, 2.0, 1) == 0
    assert endpoint.reserve(110.0, 2.0, 100) == 0
    assert endpoint.reserve(110.0, 2.0, 1) == 49


def test_rest_doubles_up_to_two_minutes() -> None:
    """Each failure after a rest doubles the next rest; failures during a rest count once."""
    endpoint = Endpoint("http://node.example", "node.example", Span(1))
    now = 1_000.0
    rests = []
    for _ in range(8):
        for _ in range(3):
            endpoint.failed(now, "500", None)
        rests.append(endpoint.heat(now) - now)
        now = endpoint.heat(now)
        assert endpoint.heat(now) == 0
    assert rests == [2, 4, 8, 16, 32, 64, 120, 120]
    endpoint.succeeded()
    endpoint.failed(now, "500", None)
    assert endpoint.heat(now) == now + 2
    assert (endpoint.failures, endpoint.last_error) == (25, "500")


def test_told_to_stay_away() -> None:
    """What the endpoint itself asked for is kept through a success of another request."""
    endpoint = Endpoint("http://node.example", "node.example", Span(1))
    endpoint.failed(50.0, "429", 30.0)
    endpoint.succeeded()
    assert endpoint.banned(60.0) == 20
    assert endpoint.heat(60.0) == 80
    assert endpoint.banned(81.0) == endpoint.heat(81.0) == 0
