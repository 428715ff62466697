import java.util.*;
public class Main { public static void main(String[] args) { var kept = new ArrayList<byte[]>(); while (true) kept.add(new byte[1 << 20]); } }
