import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.function.Function;
import java.util.stream.Collectors;

/** What short programs are made of, for the compiler to have met it before it meets them. */
public class Sample {
    enum Kind { SMALL, LARGE }

    interface Shape {
        double area();

        default String name() {
            return "shape";
        }
    }

    static final class Square implements Shape {
        private final double side;

        Square(double side) {
            this.side = side;
        }

        @Override
        public double area() {
            return side * side;
        }
    }

    static class Node<T extends Comparable<T>> {
        final T value;
        Node<T> next;

        Node(T value) {
            this.value = value;
        }
    }

    static int fibonacci(int n) {
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    }

    static long sum(int... numbers) {
        long sum = 0;
        for (int number : numbers) {
            sum += number;
        }
        return sum;
    }

    public static void main(String[] args) throws Exception {
        Map<String, Integer> counts = new HashMap<>();
        for (String word : "a b a".split(" ")) {
            counts.merge(word, 1, Integer::sum);
        }
        List<Integer> numbers = new ArrayList<>(Arrays.asList(3, 1, 2));
        Collections.sort(numbers);
        int[][] table = new int[3][4];
        for (int i = 0; i < table.length; i++) {
            table[i][0] = i * i;
        }
        String joined = numbers.stream().filter(x -> x > 1).map(x -> "n" + x).collect(Collectors.joining(","));
        try {
            Integer.parseInt("x");
        } catch (NumberFormatException error) {
            System.err.println(error.getMessage());
        } finally {
            table[0][0]++;
        }
        switch (Kind.valueOf("SMALL")) {
            case SMALL:
                break;
            default:
                throw new IllegalStateException();
        }
        Function<Integer, Integer> twice = x -> {
            return x * 2;
        };
        Node<String> list = new Node<>("first");
        list.next = new Node<>(joined);
        StringBuilder text = new StringBuilder();
        text.append(fibonacci(5)).append('c').append(1L).append(2.5);
        Scanner input = new Scanner(System.in);
        while (input.hasNextInt()) {
            long n = input.nextInt();
            if (n % 2 == 0) {
                continue;
            }
            text.append(n);
        }
        System.out.println("Hello " + list.next.value + twice.apply(2) + text + new Square(2).area());
        System.out.printf("%d %d%n", counts.size(), sum(1, 2, 3));
    }
}
