# The image of the sidecar: Node, the program as JavaScript, the default bundle. No shell, no package manager.
#   docker build -t mcp-opa-sidecar .
# Both bases can be others, for example those that tools/containers/bases.ts makes where no registry can be reached.
ARG BUILD_IMAGE=node:24.21.0-bookworm-slim
# What Node needs and nothing else: the C and C++ libraries, certificates, users. Node itself comes from the build image.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# An empty folder that a volume takes its owner from.
WORKDIR /spool
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional
COPY tools/dist.ts tools/require-node.cjs ./tools/
COPY src ./src
RUN npm run dist

FROM ${RUNTIME_IMAGE}
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build --chown=65532:65532 /spool /var/lib/mcp-opa-sidecar
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
COPY package.json LICENSE /app/
COPY bundles /app/bundles
ENV NODE_ENV=production
USER 65532:65532
WORKDIR /app
# 8081 is MCP; 8282 is health and metrics, which listen on loopback unless they are told otherwise.
EXPOSE 8081
VOLUME /var/lib/mcp-opa-sidecar
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["/usr/local/bin/node", "/app/dist/main.js", "health"]
ENTRYPOINT ["/usr/local/bin/node", "/app/dist/main.js"]
CMD ["run", "--config-file", "/etc/mcp-opa-sidecar/config.yaml"]
