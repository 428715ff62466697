import java.util.*;
public class Main {
    public static void main(String[] args) {
        var properties = new TreeMap<>(System.getProperties());
        properties.forEach((name, value) -> System.out.println(name + "=" + value.toString().replace("\n", "\\n")));
    }
}
