//= env: ANSWER=42
import java.util.*;
public class Main { public static void main(String[] args) { System.out.println(new TreeMap<>(System.getenv())); } }
