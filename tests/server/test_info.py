"""Health, metrics and the description of the server."""

import pytest

from tests.quantize.fake_hub import COMMIT, PRESENT
from tests.server.live import LiveServer


@pytest.mark.parametrize("path", ["/", "/health", "/ping"])
def test_a_healthy_server_says_so_with_an_empty_body(server: LiveServer, path: str) -> None:
    response = server.http.get(path)
    assert (response.status_code, response.content) == (200, b"")


def test_info_tells_the_limits(server: LiveServer) -> None:
    info = server.http.get("/info").json()
    assert list(info) == [
        "model_id", "model_sha", "model_pipeline_tag", "max_concurrent_requests", "max_best_of",
        "max_stop_sequences", "max_input_tokens", "max_total_tokens", "validation_workers",
        "max_client_batch_size", "router", "version", "sha", "docker_label",
    ]  # fmt: skip
    assert (info["max_input_tokens"], info["max_total_tokens"]) == (2047, 2048)
    assert (info["max_concurrent_requests"], info["max_client_batch_size"]) == (128, 4)


def test_limits_are_taken_from_the_environment(small_server: LiveServer) -> None:
    info = small_server.http.get("/info").json()
    assert (info["max_concurrent_requests"], info["max_input_tokens"], info["max_stop_sequences"]) == (2, 50, 1)


def test_a_hubs_model_is_served_and_named_with_its_commit(small_server: LiveServer) -> None:
    info = small_server.http.get("/info").json()
    assert (info["model_id"], info["model_sha"], info["model_pipeline_tag"]) == (PRESENT, COMMIT, None)


def test_the_served_model_is_listed(server: LiveServer) -> None:
    models = server.http.get("/v1/models").json()
    model_id = server.http.get("/info").json()["model_id"]
    entry = {"id": model_id, "object": "model", "created": 0, "owned_by": model_id}
    assert models == {"object": "list", "data": [entry]}


def test_a_request_is_counted_and_measured(server: LiveServer) -> None:
    names = (
        "tgi_request_count",
        "tgi_request_success",
        "tgi_request_generated_tokens_sum",
        "tgi_request_duration_count",
    )
    before = [server.metric(name) for name in names]
    prefills = server.metric("tgi_batch_inference_count", '{method="prefill"}')
    server.generate("a", max_new_tokens=6)
    assert [server.metric(name) for name in names] == [before[0] + 1, before[1] + 1, before[2] + 6, before[3] + 1]
    assert server.metric("tgi_batch_inference_count", '{method="prefill"}') == prefills + 1


def test_a_refused_request_is_counted_by_its_cause(server: LiveServer) -> None:
    label = '{err="validation"}'
    before = server.metric("tgi_request_failure", label)
    server.post("/generate", {"inputs": ""})
    server.events("/generate_stream", {"inputs": ""})
    assert server.metric("tgi_request_failure", label) == before + 2


def test_buckets_are_tgis(server: LiveServer) -> None:
    text = server.http.get("/metrics").text
    assert _buckets(text, "tgi_request_duration") == pytest.approx([0.0001 * 1.5**k for k in range(1, 36)])
    assert _buckets(text, "tgi_request_input_length") == pytest.approx([20.47 * k for k in range(1, 101)])
    assert _buckets(text, "tgi_request_generated_tokens") == pytest.approx([20.48 * k for k in range(1, 101)])
    assert _buckets(text, "tgi_batch_next_size") == list(range(1, 1025))


def test_counters_have_the_names_of_tgis_dashboards(server: LiveServer) -> None:
    text = server.http.get("/metrics").text
    assert "# TYPE tgi_request_count counter\n" in text
    assert "_total " not in text
    assert "_created" not in text


def _buckets(text: str, name: str) -> list[float]:
    opening = f'{name}_bucket{{le="'
    bounds = [line.removeprefix(opening).split('"')[0] for line in text.splitlines() if line.startswith(opening)]
    return [float(bound) for bound in bounds if bound != "+Inf"]
