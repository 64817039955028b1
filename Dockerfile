# ofa_det on a CPU: `docker build -t ofa-det .`, then
#   docker run --rm -v "$PWD:/work" ofa-det quickstart --output runs/quickstart
# Built with no more than a Python and pip, as the README installs it. On x86_64 the image takes what the environment does,
# 8 GB, since pip brings torch with CUDA.
FROM python:3.11-slim

RUN useradd --create-home user
COPY setup.cfg pyproject.toml README.md LICENSE /source/
COPY configs /source/configs
COPY ofa_det /source/ofa_det
RUN pip install --no-cache-dir '/source[export,pretrained]' && rm -r /source

USER user
WORKDIR /work
ENTRYPOINT ["ofa-det"]
CMD ["--help"]
