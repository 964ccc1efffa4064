import static org.codelibs.opensearch.runner.OpenSearchRunner.newConfigs;

import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One node on loopback, for tests: `java -cp 'lib/*' OpenSearch.java FOLDER BASE_PORT`; it listens on the port after it. */
public class OpenSearch {
  public static void main(String[] args) throws Exception {
    OpenSearchRunner runner = new OpenSearchRunner();
    runner.setMaxHttpPort(-1);
    runner
        .onBuild(
            (number, builder) -> {
              builder.put("network.host", "127.0.0.1");
              builder.put("http.host", "127.0.0.1");
              builder.put("discovery.type", "single-node");
              builder.putList("discovery.seed_hosts");
            })
        .build(
            newConfigs()
                .clusterName("test")
                .numOfNode(1)
                .basePath(args[0])
                .baseHttpPort(Integer.parseInt(args[1])));
    System.out.println("READY");
    Thread.currentThread().join();
  }
}
