import java.lang.management.*;
public class Main {
    public static void main(String[] args) {
        System.out.println(ManagementFactory.getRuntimeMXBean().getInputArguments() + " " + Runtime.getRuntime().maxMemory() + " " + Runtime.getRuntime().availableProcessors());
        ManagementFactory.getGarbageCollectorMXBeans().forEach(it -> System.out.println(it.getName() + " " + it.getCollectionCount()));
    }
}
