# The gateway as one image: serve, worker, migrate and every other command but demo, which runs sandbox registries.
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE}

# The user's number is fixed, so that secrets mounted from files can be given to it.
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent gateway
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY openapi openapi
COPY connectors connectors
COPY gateway gateway
RUN printf '#!/bin/sh\nexec python -c "import sys; from gateway.cli import main; sys.exit(main())" "$@"\n' \
        > /usr/local/bin/gateway && chmod 0755 /usr/local/bin/gateway \
    && python -m compileall -q gateway connectors
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER gateway
ENTRYPOINT ["gateway"]
CMD ["serve"]
