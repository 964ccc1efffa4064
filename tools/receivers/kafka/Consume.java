import java.io.FileInputStream;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints key, tabulator and value of what is in a topic: `java -cp 'lib/*' Consume.java PROPERTIES TOPIC`. */
public class Consume {
  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    try (FileInputStream in = new FileInputStream(args[0])) {
      properties.load(in);
    }
    StringDeserializer text = new StringDeserializer();
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties, text, text)) {
      // Without a group: there is one reader, of one partition.
      List<TopicPartition> partitions = List.of(new TopicPartition(args[1], 0));
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      while (true)
        consumer
            .poll(Duration.ofMillis(200))
            .forEach(record -> System.out.println(record.key() + "\t" + record.value()));
    }
  }
}
